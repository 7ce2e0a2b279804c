module isthmus.invalid/bench/boltorigin

go 1.22
