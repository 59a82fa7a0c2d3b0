"""The distribution-free option: which gates are decided by betting, and what that costs."""
