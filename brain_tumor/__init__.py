"""What every part shares: encoded images, classes, phantoms, overlays, model.json. No TensorFlow, kserve or kfp."""
