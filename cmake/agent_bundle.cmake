# cmake -DAGENT=… -DLAUNCHER=… -DSTRIP=… -DOUTPUT=… -P agent_bundle.cmake: the agent with all that it needs, for an image of any
# kind of the same architecture: the directory as it is is copied into the workspace's container.
#   roost-agent      static; starts what follows
#   lib/ld.so        the dynamic loader of this machine
#   lib/*.so*        the libraries that the agent is linked with, by their names
#   lib/roost-agent  the agent itself, without debugging symbols
file(REMOVE_RECURSE ${OUTPUT})
file(MAKE_DIRECTORY ${OUTPUT}/lib)
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${AGENT} RESOLVED_DEPENDENCIES_VAR libraries UNRESOLVED_DEPENDENCIES_VAR missing)
if(missing)
  message(FATAL_ERROR "the agent's libraries are not all here: ${missing}")
endif()
foreach(library IN LISTS libraries)
  get_filename_component(name ${library} NAME)
  get_filename_component(real ${library} REALPATH)
  if(name MATCHES "^ld-linux")
    set(name ld.so)
    set(loader TRUE)
  endif()
  file(COPY_FILE ${real} ${OUTPUT}/lib/${name})
endforeach()
if(NOT loader)
  message(FATAL_ERROR "no dynamic loader among the agent's libraries: ${libraries}")
endif()
execute_process(COMMAND ${STRIP} -o ${OUTPUT}/lib/roost-agent ${AGENT} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${STRIP} -o ${OUTPUT}/roost-agent ${LAUNCHER} COMMAND_ERROR_IS_FATAL ANY)
