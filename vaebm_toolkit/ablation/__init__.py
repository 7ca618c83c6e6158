"""Tables of runs that differ in one thing each: on one data set, with one generator and one evaluation."""
