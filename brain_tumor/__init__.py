"""Code that every part shares: encoded images, classes, phantoms, overlays, model card. No TensorFlow, kserve or kfp."""
