package idp

// scope reads the definition of a scope.
func (p *parser) scope() error {
	scope := new(Scope)
	start := p.Token()
	err := p.text(&scope.Name)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		switch p.Val() {
		case "display_name":
			return p.text(&scope.DisplayName)
		case "description":
			return p.text(&scope.Description)
		case "required":
			return p.flag(&scope.Required)
		case "emphasize":
			return p.flag(&scope.Emphasize)
		case "claims":
			return p.list(&scope.Claims)
		case "audience":
			return p.text(&scope.Audience)
		default:
			return p.unknown()
		}
	})
	if err != nil {
		return err
	}
	for _, other := range p.handler.Scopes {
		if other.Name == scope.Name {
			return errorAt(start, errTwice("scope", scope.Name))
		}
	}
	err = scope.check()
	if err != nil {
		return errorAt(start, err)
	}
	p.handler.Scopes = append(p.handler.Scopes, scope)
	return nil
}

// details reads the definition of a type of authorization details.
func (p *parser) details() error {
	details := new(DetailsType)
	start := p.Token()
	err := p.text(&details.Name)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		switch p.Val() {
		case "display_name":
			return p.text(&details.DisplayName)
		case "field":
			return p.field(details)
		default:
			return p.unknown()
		}
	}, "field")
	if err != nil {
		return err
	}
	for _, other := range p.handler.Details {
		if other.Name == details.Name {
			return errorAt(start, errTwice("details", details.Name))
		}
	}
	err = details.check()
	if err != nil {
		return errorAt(start, err)
	}
	p.handler.Details = append(p.handler.Details, details)
	return nil
}

// field reads one field of a type of authorization details.
func (p *parser) field(details *DetailsType) error {
	field := new(DetailsField)
	start := p.Token()
	err := p.text(&field.Name)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		switch p.Val() {
		case "label":
			return p.text(&field.Label)
		case "type":
			return p.text(&field.Type)
		case "required":
			return p.flag(&field.Required)
		case "max_length":
			return p.number(&field.MaxLength)
		default:
			return p.unknown()
		}
	})
	if err != nil {
		return err
	}
	for _, other := range details.Fields {
		if other.Name == field.Name {
			return errorAt(start, errTwice("field", field.Name))
		}
	}
	err = field.check()
	if err != nil {
		return errorAt(start, err)
	}
	details.Fields = append(details.Fields, field)
	return nil
}
