package pgtest

import "testing"

func TestEveryDatabaseIsItsOwn(t *testing.T) {
	if a, b := Start(t), Start(t); a == b {
		t.Errorf("twice the same database: %s", a)
	}
}

func TestDurable(t *testing.T) {
	Start(t)
	for setting, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "listen_addresses": "127.0.0.1"} {
		s, err := shared(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.query("postgres", "SHOW "+setting)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s = %s, want %s", setting, got, want)
		}
	}
}
