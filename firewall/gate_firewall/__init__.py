"""The bridge, the rules in the kernel, and the classifier that reads the first packets of each flow."""
