"""Training of chosen nodes by the trainers of trl, supervised and by reinforcement."""
