package agentauth

import (
	"context"

	"github.com/keywright/keywright"
)

// hold keeps an applicant for a person to decide.
func (p *Provider) hold(ctx context.Context, c enrollCall, to Admitted) (enrollResponse, error) {
	return enrollResponse{}, keywright.Errorf(keywright.CodeDenied, "approval is not there yet")
}

func (p *Provider) approvalRoutes() []keywright.Route { return nil }
