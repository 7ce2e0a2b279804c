module isthmus.invalid/bench/openloop

go 1.22
