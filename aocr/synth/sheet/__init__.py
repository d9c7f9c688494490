"""The flat sheet of text in front of the camera, and the camera's position."""
