"""Dubbo 2: the head of 16 bytes, and of hessian2 bodies as much as routes need."""
