"""Where things are in a network: blocks, stages, classifier, what follows a tap."""
