module isthmus.invalid/bench/abapp

go 1.22
