package factor

// totpRecord is an authenticator app.
type totpRecord struct {
	Sealed string `json:"sealed"`
	Step   int64  `json:"step"` // the last one that was used
	Added  int64  `json:"added"`
	Used   int64  `json:"used,omitempty"`
}
