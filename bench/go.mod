module dmz-gateway/bench

go 1.25
