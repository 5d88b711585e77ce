"""Parts of new_config.py: the folder of images, the networks, their pairing, and the configs."""
