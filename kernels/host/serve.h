// A device of the project's own making: serves memory and launches to a process at the other end of a pipe.
//
// Each request is a letter and its arguments, little end first, 64 bits a number:
//   A bytes                  allocate; answers the address. Contents are NaN, and the ends are guarded.
//   W address bytes data     write
//   R address bytes          read; answers the data
//   L kernel blocks threads shared_bytes     launch on a copy of Buffers that follows; answers a byte
// The order of threads is the first argument of the program. It ends with its input.
#pragma once

static void take(void* to, size_t bytes) {
    if (bytes > 0 && std::fread(to, 1, bytes, stdin) != bytes) std::exit(0);
}

static uint64_t take_number() {
    uint64_t number;
    take(&number, sizeof(number));
    return number;
}

static void give(const void* from, size_t bytes) {
    std::fwrite(from, 1, bytes, stdout);
    std::fflush(stdout);
}

static void serve(const std::vector<void (*)(Buffers)>& kernels) {
    for (int request; (request = std::fgetc(stdin)) != EOF;) {
        if (request == 'A') {
            const size_t bytes = take_number();
            void* memory = std::malloc(bytes);
            std::memset(memory, 0xff, bytes);
            const uint64_t address = reinterpret_cast<uint64_t>(memory);
            give(&address, sizeof(address));
        } else if (request == 'W') {
            void* memory = reinterpret_cast<void*>(take_number());
            take(memory, take_number());
        } else if (request == 'R') {
            const void* memory = reinterpret_cast<const void*>(take_number());
            give(memory, take_number());
        } else if (request == 'L') {
            const auto kernel = kernels.at(take_number());
            const unsigned blocks = (unsigned)take_number(), threads = (unsigned)take_number();
            const size_t shared_bytes = take_number();
            Buffers buffers;
            take(&buffers, sizeof(buffers));
            on_cpu::launch(blocks, threads, shared_bytes, [=] { kernel(buffers); });
            give("", 1);
        } else {
            on_cpu::refuse("an unknown request");
        }
    }
}

int main(int count, char** arguments) {
    const std::string order = count > 1 ? arguments[1] : "ascending";
    if (order == "descending") on_cpu::order = on_cpu::Order::Descending;
    if (order == "shuffled") on_cpu::order = on_cpu::Order::Shuffled;
    serve({KERNELS});
}
