"""Outlier detection: endpoints whose requests fail are left out for a while (config.cluster.v3.OutlierDetection). Pure."""
