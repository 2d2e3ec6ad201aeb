# Backup, verify and restore: in parts through the library, and whole through the program and the plugin.
roost_test(agent_backup_test
  SOURCES backup_format_test.cpp backup_verify_test.cpp backup_restore_test.cpp backup_walk_test.cpp backup_speed_test.cpp
          backup_ignore_test.cpp
  LINK roost_agent_task)
roost_test(agent_backup_task_test
  SOURCES backup_roundtrip_test.cpp backup_task_test.cpp backup_job_test.cpp backup_tools_test.cpp
  LINK roost_agent_task)
add_dependencies(agent_backup_task_test roost-agent backup-directory)
