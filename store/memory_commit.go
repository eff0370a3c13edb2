package store

import "context"

// Commit implements [Store].
func (m *Memory) Commit(ctx context.Context, ops ...Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := Validate(ops...); err != nil {
		return err
	}
	// Copied before the lock is taken: it may be a lot.
	data := make([][]byte, len(ops))
	for i, op := range ops {
		data[i] = copied(op)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for i, op := range ops {
		if err := m.refuses(op, now); err != nil {
			return &OpError{Index: i, Op: op, Err: err}
		}
	}
	if i := m.overflow(ops, now); i >= 0 {
		return &OpError{Index: i, Op: ops[i], Err: ErrFull}
	}
	for i, op := range ops {
		m.apply(op, data[i], now)
	}
	return nil
}

// copied returns the data of a record to be written, with no room behind it
// that two callers could append into. No data is nil.
func copied(op Op) []byte {
	switch op.Action {
	case ActionInsert, ActionPut, ActionReplace:
		if n := len(op.Record.Data); n > 0 {
			data := make([]byte, n)
			copy(data, op.Record.Data)
			return data
		}
	}
	return nil
}

// heldAs returns the key that the op's record or counter has in a [Memory].
func (o Op) heldAs() Key {
	key, _ := o.target() // that of a counter has no kind, which is counters
	return key
}

// refuses says why the op cannot be, apart from room.
func (m *Memory) refuses(op Op, now int64) error {
	key := op.heldAs()
	e := m.find(key)
	live := e != nil && e.live(now)
	switch op.Action {
	case ActionInsert:
		if live {
			return ErrExists
		}
	case ActionReplace, ActionDelete, ActionCheck:
		if !live || e.number != op.Record.Version {
			return ErrConflict
		}
	case ActionTake:
		if m.sum(key, op.Counter.N, now) > op.Counter.Max {
			return ErrLimit
		}
	}
	return nil
}

// overflow returns the index of an op for which there is no room, or -1.
func (m *Memory) overflow(ops []Op, now int64) int {
	for {
		held, grown, first := m.held, 0, -1
		for i, op := range ops {
			switch {
			case op.Action == ActionDelete:
				grown--
			case op.adds() && m.find(op.heldAs()) == nil:
				grown++
				if first < 0 {
					first = i
				}
			}
		}
		switch {
		case grown <= 0:
			return -1
		case !m.room(grown, now):
			return first
		case m.held == held:
			return -1
		}
		// What went to make room may be what an op was to be written over.
	}
}

// adds reports whether the op leaves a record or counter where none was.
func (o Op) adds() bool {
	switch o.Action {
	case ActionInsert, ActionPut:
		return true
	case ActionTake:
		return o.Counter.N != 0
	}
	return false
}

func (m *Memory) apply(op Op, data []byte, now int64) {
	key := op.heldAs()
	switch op.Action {
	case ActionInsert, ActionPut, ActionReplace:
		m.version++
		m.write(key, m.version, nanos(op.Record.Expires), data)
	case ActionDelete:
		m.remove(key.Kind, m.find(key))
	case ActionTake:
		if op.Counter.N != 0 {
			m.count(key, op.Counter.N, op.Counter.Until, now)
		}
	}
}
