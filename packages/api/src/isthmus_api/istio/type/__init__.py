"""Types that several kinds share."""
