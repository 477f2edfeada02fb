"""The commands, by what they work on. They parse arguments and print; what they do is done elsewhere."""
