// The scenario in C++: functions with names that are mangled.
#include "scenario.h"

int leaf(int n) __attribute__((noinline));
int leaf(int n) {
    __asm__ volatile("" : "+r"(n));
    return n + 1;
}

namespace {

class Request {
  public:
    Request(thread *of, int self) : thread_(of), self_(self) {}
    NOINLINE int handle(int round, const context &current) {
        return within_outer(thread_, round, self_, &current) + 1;
    }

  private:
    thread *thread_;
    int self_;
};

} // namespace

NOINLINE int outer(thread *of, int round, int self, const context *current) {
    return Request(of, self).handle(round, *current) + 1;
}

NOINLINE int switching(thread *of, int self, const context *other, int restored) {
    return within_switching(of, self, other, restored) + 1;
}

int main(int argc, char **argv) { return scenario(argc, argv); }
