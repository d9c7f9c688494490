"""The flat sheet of text before the camera, and where the camera stands."""
