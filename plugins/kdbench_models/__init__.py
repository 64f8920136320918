"""Networks of the distillation literature that timm lacks, registered in timm's own registry.

Names are the field's; where timm has that name for another network, `_cifar` is appended.
"""
