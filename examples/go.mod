module github.com/keywright/keywright/examples

go 1.26.0

replace (
	github.com/keywright/keywright => ..
	github.com/keywright/keywright/store/sqlstore => ../store/sqlstore
)
