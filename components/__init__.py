"""The pipeline's steps, one folder each."""

import os

COMPONENTS_IMAGE = os.environ.get("COMPONENTS_IMAGE", "brain-tumor-components:0.1.0")
SERVING_IMAGE = os.environ.get("SERVING_IMAGE", "brain-tumor-serving:0.1.0")
