package store

// expiryHeap orders records by expiry, the first to expire at the top. It
// implements heap.Interface.
type expiryHeap []*memoryRecord

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires < h[j].expires }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *expiryHeap) Push(x any) {
	stored := x.(*memoryRecord)
	stored.place = len(*h)
	*h = append(*h, stored)
}

func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	stored := (*h)[last]
	(*h)[last] = nil
	stored.place = -1
	*h = (*h)[:last]
	return stored
}
