"""hoplab: the lab that shows and proves which path a virtual machine's packets take."""

__version__ = "0.1.0"
