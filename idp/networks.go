package idp

import (
	"fmt"
	"net/netip"
)

// parseNetworks reads networks as address and prefix length, and addresses as
// networks of one. All of the address space is refused: it would open what nobody
// thinks of, such as the metadata service of a cloud.
func parseNetworks(option string, configured []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range configured {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%s: '%s' is neither a network such as 10.1.0.0/16 nor an address", option, text)
			}
			network = netip.PrefixFrom(addr, addr.BitLen())
		}
		if network.Bits() == 0 {
			return nil, fmt.Errorf("%s: '%s' is every network; name the ones that are meant", option, text)
		}
		if network != network.Masked() {
			return nil, fmt.Errorf("%s: '%s' has bits behind its prefix; write %s", option, text, network.Masked())
		}
		networks = append(networks, network)
	}
	return networks, nil
}
