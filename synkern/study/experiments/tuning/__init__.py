"""The experiments `tuning_sft` and `tuning_grpo`."""
