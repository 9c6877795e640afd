module underspan.test/tiny

go 1.21
