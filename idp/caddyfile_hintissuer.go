package idp

// hintIssuer reads whose login_hint_tokens are trusted.
func (p *parser) hintIssuer() error {
	issuer := new(HintIssuer)
	start := p.Token()
	err := p.text(&issuer.Issuer)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		switch p.Val() {
		case "jwks":
			return p.keys(&issuer.JWKS, &issuer.JWKSFile)
		case "claim":
			return p.text(&issuer.Claim)
		case "by_subject":
			return p.flag(&issuer.BySubject)
		default:
			return p.unknown()
		}
	})
	if err != nil {
		return err
	}
	for _, other := range p.handler.HintIssuers {
		if other.Issuer == issuer.Issuer {
			return errorAt(start, errTwice("hint issuer", issuer.Issuer))
		}
	}
	err = issuer.check()
	if err != nil {
		return errorAt(start, err)
	}
	p.handler.HintIssuers = append(p.handler.HintIssuers, issuer)
	return nil
}
