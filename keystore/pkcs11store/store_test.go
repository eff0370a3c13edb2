package pkcs11store_test

import (
	"testing"

	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/keystoretest"
)

func TestStore(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) keystore.KeyStore { return newToken(t).store() })
}
