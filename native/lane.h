// A thread that runs tasks in the order they came, with a bounded backlog: hashing beside inflating.
//
//   pool thread: inflate ──Push──► [task task task] ──► lane thread: sha256, windows
//                        ◄─blocks while the backlog is full
//
// Ownership: a task owns what it needs (slabs by reference count). Threads: Push and Drain from one thread
// at a time; the destructor joins. Errors: a task that throws (no memory) makes the lane failed; later
// tasks are dropped, Drain says so. At exit of the process all lanes are stopped before OpenSSL is.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace peel {

class Lane {
 public:
  using Task = std::function<void()>;

  // `capacity` is in the same unit as the weights, bytes.
  explicit Lane(size_t capacity);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Waits while the backlog is full.
  void Push(size_t weight, Task task);
  // Waits until every task has run. False if one failed.
  bool Drain();
  // Drops what waits and ends the thread. Safe to call twice and from any thread.
  void Stop();

 private:
  struct Item {
    size_t weight;
    Task task;
  };

  void Run();

  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;
  size_t backlog_ = 0;
  bool busy_ = false;
  bool stopping_ = false;
  bool failed_ = false;
  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace peel
