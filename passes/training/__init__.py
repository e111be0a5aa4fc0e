"""The training engine that the passes finetune and distill share."""
