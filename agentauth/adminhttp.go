package agentauth

import "github.com/keywright/keywright"

func (p *Provider) adminRoutes() []keywright.Route { return nil }
