module tollkeep.example/origin

go 1.18
