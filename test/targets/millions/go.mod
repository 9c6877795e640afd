module example.com/millions

go 1.18
