"""What clients report: loads (LRS) and access logs (ALS), as counts of bounded number."""
