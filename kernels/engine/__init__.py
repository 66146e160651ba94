"""What backends share: all pairs by tiles, chosen pairs, means by node, marked pairs."""
