package sessionapi

import "github.com/starling-swarm/starling/client"

// Account is who a profile is; kind account.
type Account struct {
	AccountID string `json:"account_id"`
	Name      string `json:"name"`
	DeviceID  string `json:"device_id"`
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	Link      string `json:"link"`
	Revoked   bool   `json:"revoked,omitempty"`
}

// AccountOf is the document of an account.
func AccountOf(acc client.Account) Account {
	return Account{AccountID: acc.ID.String(), Name: acc.Name, DeviceID: acc.Device.String(),
		Cluster: acc.ClusterName, ClusterID: acc.Cluster.String(), Link: acc.Link, Revoked: acc.Revoked}
}

// Init is a new account, with the recovery phrase that is shown only once; kind init.
type Init struct {
	AccountID string `json:"account_id"`
	Phrase    string `json:"recovery_phrase"`
	DeviceID  string `json:"device_id"`
	Name      string `json:"name,omitempty"`
}

// Restored is an account that was brought back on this device; kind restore.
type Restored struct {
	AccountID string `json:"account_id"`
	DeviceID  string `json:"device_id"`
	Recovered bool   `json:"recovered"`
	Name      string `json:"name,omitempty"`

	Missing []string `json:"missing,omitempty"` // what this device cannot have
}

// RestorePending is what a device shows while it waits for another one to approve it; kind restore.pending,
// on stderr.
type RestorePending struct {
	Code     string `json:"code"`
	DeviceID string `json:"device_id"`
}

// Recovery says what this device knows of the recovery phrase; kind recovery.
type Recovery struct {
	AccountID string `json:"account_id"`
	Valid     *bool  `json:"valid,omitempty"` // of verify
	Kept      bool   `json:"kept"`            // the phrase is on this device
}

// Profiles are the accounts on this machine; kind profile.list.
type Profiles struct {
	Home     string    `json:"home"`
	Profiles []Profile `json:"profiles"`
}

// Profile is one account on this machine; also of kind profile.wiped when it is gone.
type Profile struct {
	Name string `json:"name"`
	Dir  string `json:"dir"`
	This bool   `json:"this"`
}

// Settings are the settings of an account; kind settings.list.
type Settings struct {
	Settings []Setting `json:"settings"`
}

// Setting is a switch that all devices of an account share; kind setting.
type Setting struct {
	Name  string `json:"name"`
	On    bool   `json:"on"`
	About string `json:"about"`
}
