"""What a picture looks like: colours, surfaces, and the steps of letters and of cameras."""
