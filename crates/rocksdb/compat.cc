// The write buffer manager in the C interface, for RocksDB before version 8: see build.rs.
//
// The structs repeat what db/c.cc of every such version defines: a C handle holds one C++ value.

#include <rocksdb/cache.h>
#include <rocksdb/options.h>
#include <rocksdb/write_buffer_manager.h>

#include <memory>

struct rocksdb_options_t {
  rocksdb::Options rep;
};
struct rocksdb_cache_t {
  std::shared_ptr<rocksdb::Cache> rep;
};
struct rocksdb_write_buffer_manager_t {
  std::shared_ptr<rocksdb::WriteBufferManager> rep;
};

extern "C" {

rocksdb_write_buffer_manager_t* rocksdb_write_buffer_manager_create_with_cache(
    size_t buffer_size, const rocksdb_cache_t* cache, bool allow_stall) {
  auto manager = std::make_shared<rocksdb::WriteBufferManager>(
      buffer_size, cache->rep, allow_stall);
  return new rocksdb_write_buffer_manager_t{manager};
}

void rocksdb_write_buffer_manager_destroy(rocksdb_write_buffer_manager_t* manager) {
  delete manager;
}

void rocksdb_options_set_write_buffer_manager(
    rocksdb_options_t* options, rocksdb_write_buffer_manager_t* manager) {
  options->rep.write_buffer_manager = manager->rep;
}

size_t rocksdb_write_buffer_manager_memory_usage(rocksdb_write_buffer_manager_t* manager) {
  return manager->rep->memory_usage();
}

}  // extern "C"
