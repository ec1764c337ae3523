// Lists whose links are in their elements: nothing is allocated, and an element finds its own place.
#pragma once

namespace bulkhead {

/// An element's place in one list. An element that goes takes itself out.
struct ListHook {
  ListHook* before = nullptr;
  ListHook* after = nullptr;

  ListHook() = default;
  ListHook(const ListHook&) = delete;
  ~ListHook() { unlink(); }
  bool linked() const { return after != nullptr; }
  void unlink() {
    if (!linked()) return;
    before->after = after;
    after->before = before;
    before = after = nullptr;
  }
};

/// The hook of an element in one list.
template <class T>
struct OwnedHook : ListHook {
  explicit OwnedHook(T* element) : owner(element) {}
  T* const owner;
};

template <class T>
class IntrusiveList {
 public:
  IntrusiveList() { ends_.before = ends_.after = &ends_; }
  ~IntrusiveList() { ends_.before = ends_.after = nullptr; }
  bool empty() const { return ends_.after == &ends_; }
  T* front() const { return owner(ends_.after); }
  /// The element after `hook`'s; nullptr: it is the last.
  T* next(const OwnedHook<T>& hook) const { return hook.after == &ends_ ? nullptr : owner(hook.after); }
  /// At the end, out of whatever list of this hook it was in.
  void push_back(OwnedHook<T>& hook) {
    hook.unlink();
    hook.before = ends_.before;
    hook.after = &ends_;
    ends_.before->after = &hook;
    ends_.before = &hook;
  }

 private:
  static T* owner(ListHook* hook) { return static_cast<OwnedHook<T>*>(hook)->owner; }
  ListHook ends_;
};

}  // namespace bulkhead
