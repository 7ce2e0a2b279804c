module isthmus.invalid/bench/boltload

go 1.22
