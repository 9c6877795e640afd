module example.com/collector

go 1.25.0
