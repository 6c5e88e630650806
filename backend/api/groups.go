package api

// Group is one consumer group.
type Group struct {
	Group      string           `json:"group"`
	Cluster    string           `json:"cluster"`
	Protocol   string           `json:"protocol"`
	State      string           `json:"state"`
	Members    int              `json:"members"`
	Topics     []string         `json:"topics" nullable:"false"`
	Verdict    string           `json:"verdict"`
	Code       string           `json:"code"`
	Health     string           `json:"health" enum:"on_time,at_risk,late,idle,unknown,dead" doc:"The verdict as a state of the map"`
	Lag        Lag              `json:"lag"`
	Trend      string           `json:"trend,omitempty" enum:"rising,falling,steady,unknown"`
	CaughtUpIn *Reading         `json:"caught_up_in,omitempty"`
	In         Reading          `json:"rate_in" doc:"Offsets a second that come into its partitions"`
	Out        Reading          `json:"rate_out" doc:"Offsets a second that it commits"`
	Oldest     *Unread          `json:"oldest_unread,omitempty" doc:"What has waited longest; of one group only"`
	LosingIn   *Reading         `json:"losing_in,omitempty" doc:"Until retention by time may remove what is unread; of one group only, while something waits"`
	Generation string           `json:"generation,omitempty" doc:"Of its membership, where its protocol tells"`
	Broker     *int32           `json:"coordinator,omitempty" doc:"The broker that coordinates it"`
	StableFrom string           `json:"stable_since,omitempty" doc:"When its state or members were last seen to change; absent: not since it is watched"`
	Partitions []GroupPartition `json:"partitions,omitempty"`
	MemberList []GroupMember    `json:"member_list,omitempty"`
}

// Unread is the first record that a group has not committed in a partition.
type Unread struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    string `json:"offset"`
	Time      string `json:"time,omitempty" doc:"The record's own, where it was read"`
}

// GroupPartition is a group's place in one partition.
type GroupPartition struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Committed string   `json:"committed,omitempty" doc:"Absent where the group has committed nothing"`
	Start     string   `json:"start,omitempty"`
	End       string   `json:"end,omitempty"`
	Stable    string   `json:"stable,omitempty"`
	Lost      string   `json:"lost,omitempty" doc:"Records gone from the log before the group read them"`
	Lag       Lag      `json:"lag"`
	In        *Reading `json:"rate_in,omitempty"`
	Out       *Reading `json:"rate_out,omitempty"`
	Moved     string   `json:"moved,omitempty" doc:"When the commit was last seen to move"`
	Member    string   `json:"member,omitempty"`
	State     string   `json:"state,omitempty"`
	Why       string   `json:"why,omitempty" doc:"Of a state that is neither caught up nor behind"`
}

// GroupMember is one member.
type GroupMember struct {
	ID         string              `json:"id"`
	ClientID   string              `json:"client_id"`
	Host       string              `json:"host"`
	Assigned   int                 `json:"assigned"`
	Partitions []AssignedPartition `json:"partitions" nullable:"false"`
	Lag        Lag                 `json:"lag" doc:"Of its partitions"`
	Out        *Reading            `json:"rate_out,omitempty"`
}

// AssignedPartition is a partition that a member reads.
type AssignedPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// ResetSpec moves a group's committed offsets, to one point or to an offset of each partition.
type ResetSpec struct {
	Topic   string   `json:"topic"`
	To      string   `json:"to,omitempty" doc:"earliest, latest, a time, or PARTITION:OFFSET"`
	Offsets []string `json:"offsets,omitempty" maxItems:"10000" doc:"PARTITION:OFFSET each, in place of to: what a reset's from told is put back by it"`
	Apply   bool     `json:"apply" doc:"false only shows what would change"`
}

// ResetAnswer is what a reset changes.
type ResetAnswer struct {
	Head
	Group   string        `json:"group"`
	Applied bool          `json:"applied"`
	Items   []ResetChange `json:"items" nullable:"false"`
	Audit   AuditPoint    `json:"audit"`
}

// ResetChange is one partition's move.
type ResetChange struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      string `json:"from,omitempty" doc:"Absent where nothing was committed"`
	To        string `json:"to"`
	Moves     string `json:"moves,omitempty" doc:"Offsets, below zero where it goes back; absent where nothing was committed"`
}
