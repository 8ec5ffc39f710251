package idp

// signInWith reads another OpenID Provider at which customers can sign in.
func (p *parser) signInWith() error {
	start := p.Token()
	with := new(SignInWith)
	args := p.RemainingArgs()
	if len(args) != 2 {
		return p.ArgErr()
	}
	with.Name, with.Issuer = args[0], args[1]
	err := p.block(func() error {
		switch p.Val() {
		case "display_name":
			return p.text(&with.DisplayName)
		case "client_id":
			return p.text(&with.ClientID)
		case "client_secret":
			return p.text(&with.ClientSecret)
		case "scopes":
			return p.list(&with.Scopes)
		case "claim":
			return p.text(&with.Claim)
		case "by_subject":
			return p.flag(&with.BySubject)
		case "acr_values":
			return p.list(&with.ACRValues)
		case "class":
			return p.class(with)
		case "max_age":
			return p.duration(&with.MaxAge)
		case "ca":
			return p.list(&with.CAFiles)
		default:
			return p.unknown()
		}
	}, "class")
	if err != nil {
		return err
	}
	for _, other := range p.handler.SignInWith {
		if other.Name == with.Name {
			return errorAt(start, errTwice("sign_in_with", with.Name))
		}
	}
	err = with.check()
	if err != nil {
		return errorAt(start, err)
	}
	p.handler.SignInWith = append(p.handler.SignInWith, with)
	return nil
}

// class reads which class of ours a class over there stands for.
func (p *parser) class(with *SignInWith) error {
	var theirs, ours string
	if !p.AllArgs(&theirs, &ours) {
		return p.ArgErr()
	}
	if with.Classes == nil {
		with.Classes = make(map[string]string)
	}
	if with.Classes[theirs] != "" {
		return p.Errf("class %s already specified", theirs)
	}
	with.Classes[theirs] = ours
	return nil
}
