package provider

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Over any time, no more is let through than the burst and what has flowed back.
func TestLimiterBounds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	rate := Rate{Burst: 7, Per: time.Minute}
	for range 200 {
		var l limiter
		now := time.Unix(1e9, 0)
		var taken []time.Time
		for range 100 {
			now = now.Add(time.Duration(random.Int64N(int64(20 * time.Second))))
			before := l.peek(now, bucket{}, rate)
			wait := l.take(now, bucket{}, rate)
			if wait != before {
				t.Fatalf("peek said %s, take %s", before, wait)
			}
			if wait == 0 {
				taken = append(taken, now)
				continue
			}
			if l.peek(now.Add(wait), bucket{}, rate) != 0 || l.peek(now.Add(wait-time.Millisecond), bucket{}, rate) == 0 {
				t.Fatalf("wait of %s is not right", wait)
			}
		}
		for i := range taken {
			for j := i; j < len(taken); j++ {
				most := float64(rate.Burst) + taken[j].Sub(taken[i]).Seconds()/rate.Per.Seconds()*float64(rate.Burst)
				if float64(j-i+1) > most+1e-6 {
					t.Fatalf("%d were let through in %s", j-i+1, taken[j].Sub(taken[i]))
				}
			}
		}
	}
}

// A clock that is set back keeps nobody out.
func TestLimiterBearsTheClock(t *testing.T) {
	var l limiter
	now := time.Unix(1e9, 0)
	rate := Rate{Burst: 1, Per: time.Minute}
	l.take(now, bucket{}, rate)
	if l.take(now.Add(-time.Hour), bucket{}, rate) != 0 || l.take(now.Add(-time.Hour), bucket{}, rate) == 0 {
		t.Error("the limit does not follow the clock")
	}
}

// A flood of names takes a bounded amount of memory.
func TestLimiterIsBounded(t *testing.T) {
	var l limiter
	now := time.Unix(1e9, 0)
	rate := Rate{Burst: 2, Per: time.Hour}
	for i := range maxBuckets + 1000 {
		l.take(now, bucket{client: fmt.Sprint(i)}, rate)
	}
	if len(l.full) > maxBuckets {
		t.Errorf("%d buckets", len(l.full))
	}
	l.take(now.Add(2*time.Hour), bucket{client: "later"}, rate)
	if len(l.full) != 1 {
		t.Errorf("%d buckets, though all others are full", len(l.full))
	}
}
